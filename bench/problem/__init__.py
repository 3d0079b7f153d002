"""A dataset through an encoder as tensors: the study, which methods see, and the exam of the judge."""
