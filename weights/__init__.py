"""Every checkpoint: where its bytes come from, under which licence, and how an engine can open them."""
