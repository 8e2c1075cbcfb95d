"""Published weights, from a name to a loaded backbone.

zoo: the short names. files, hub, download: from a name, URL or Hugging Face id to a local file.
reading: from a file to tensors, safely. names, formats: from the names of any project to ours.
fitting, loading: from tensors to a backbone, all or nothing. classifier: to a classifier
with its head. convert: to the names of a project.
"""
