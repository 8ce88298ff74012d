"""What the checks of the user's functions share: responses to try, and what tells a mistake in the code from a bad response."""

SHOWN_CHARS = 60
ERROR = "error: "
OTHER_RESPONSES = ("-1", "I do not know.", "")  # wrong ones, as a policy may give them
MISTAKES = tuple(f"{ERROR}{kind.__name__}: " for kind in (TypeError, NameError, AttributeError, ImportError, ModuleNotFoundError))
SLIPS = tuple(f"{ERROR}{kind.__name__}: " for kind in (NameError, UnboundLocalError, ImportError, ModuleNotFoundError))
