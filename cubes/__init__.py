"""Cubes: their definitions, their building as logs of partial cells, and the SQL that is answered from them."""
