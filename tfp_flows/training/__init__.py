"""How a flow is fitted: steps, optimizers, replicas, checkpoints."""
