"""One layer a file: a frozen Spec and the object that it builds."""
