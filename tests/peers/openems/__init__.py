"""Cases of OpenEMS on this product's controllers and solver: how their format is read, fed, and compared.

One module for each family of cases; `families.py` lists them. A family gives the answers of this product step by step, under the
keys of the format and in its units; everything that a case expects is compared with them.
"""
