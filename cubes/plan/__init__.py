"""Planning of cubes: what one will cost before it is built, which cuboids pay, and how a changed one is built."""
