"""A page on this machine where a person looks at boxes, corrects them, and takes away those that are right."""
