"""Operations on tensors that are worth a kernel of their own."""
