"""One-shot search: weights shared by all cells, and the strategies that search on them."""
