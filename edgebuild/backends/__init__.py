"""Target families: what each emits, compiles and runs."""
