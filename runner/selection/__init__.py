"""Which rules are used, and what is changed in them without touching their files: overrides and selections."""

from runner.selection.expression import RuleSelection as RuleSelection
from runner.selection.expression import SelectionError as SelectionError
from runner.selection.expression import joined as joined
from runner.selection.expression import read_selection as read_selection
from runner.selection.selected_rules import SelectedRules as SelectedRules
from runner.selection.selected_rules import select_rules as select_rules
