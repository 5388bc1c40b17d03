//! The policies of a route, one file each: the table as written, and the checked type it is made into.
