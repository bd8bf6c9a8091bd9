"""The paper's claims in small: mini trained three ways with three seeds, and what each way is good for."""
