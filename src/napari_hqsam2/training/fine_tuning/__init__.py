"""Fine-tuning of any model on labelled images of one's own."""
