"""How deployments scale: what models take, growth under load, predictions and a simulation of larger machines."""
