"""Half an hour of work of every kind while workers come, go and die: what grows, what slows down, what is lost (``make soak``)."""
