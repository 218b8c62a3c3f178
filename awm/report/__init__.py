"""The report: the notebooks run in order, and from what they leave a story and its pages."""
