"""The second engine: Spark spreads a build over a cluster; inside its tasks DuckDB does the arithmetic.

So both engines run the same SQL on the same decimals, and their cells are equal to the last bit.
"""
