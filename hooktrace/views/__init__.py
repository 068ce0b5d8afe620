"""Views: pure functions of the log.  They import neither torch nor the layers that record."""
