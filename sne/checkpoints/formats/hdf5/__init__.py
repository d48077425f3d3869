"""The structure of HDF5 files, read with bounds: messages of objects, groups and arrays."""
