"""The same pipelines hosted in other servers, to compare with."""
