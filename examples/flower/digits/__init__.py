"""A Flower app whose models and updates travel through a store."""
