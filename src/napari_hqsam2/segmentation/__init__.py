"""What lies between the predictors and the public functions: prompts in, masks out."""
