"""A made-up fleet: its machines, its traffic, its faults, each a function of seed and UTC day alone."""
