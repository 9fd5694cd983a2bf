"""The notifier: notices to people over channels. It knows nothing of lakes' rows, gates or cubes."""
