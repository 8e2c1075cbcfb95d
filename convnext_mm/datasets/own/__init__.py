"""A data set of the user: recognise it, check it, repair it, adapt a config to it."""
