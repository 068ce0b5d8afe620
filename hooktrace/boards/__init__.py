"""What is written for TensorBoard.  It never imports torch: a saved trace is exported without."""
