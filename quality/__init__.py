"""The gate and the watch: nothing reaches the trusted tables unchecked, and nothing is dropped unsaid."""
