"""Load tests: open-loop arrivals by profile, judged by gates."""
