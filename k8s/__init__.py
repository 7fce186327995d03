"""Kubernetes: images, and the manifests that `python -m k8s render` writes from the models' declared resources."""
