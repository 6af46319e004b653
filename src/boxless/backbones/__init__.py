"""Networks that give features on a grid, behind one contract."""
