"""A user's own data set: recognise it, check it, repair it, adapt a config to it."""
