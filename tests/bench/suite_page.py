def make(*a): pass
