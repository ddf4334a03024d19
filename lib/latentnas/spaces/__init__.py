"""What an architecture is: one module per search space, each with one instance that knows everything about
it."""
