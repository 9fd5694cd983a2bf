"""The ground that every part stands on: settings, errors, facts, tables, engines; it imports none of the others."""
