"""Tools that keep the repository in order: running and checking notebooks, model cards, tables."""
