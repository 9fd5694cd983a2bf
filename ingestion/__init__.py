"""The agents, the way to landing, and the import of foreign logs."""
