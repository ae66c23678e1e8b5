"""Which rules are used, and what is changed in them without touching their files: overrides and selections."""

from runner.selection.checks import check_overrides as check_overrides
from runner.selection.criteria import RuleFacts as RuleFacts
from runner.selection.expression import NOTHING as NOTHING
from runner.selection.expression import RuleSelection as RuleSelection
from runner.selection.expression import SelectionError as SelectionError
from runner.selection.expression import criterion_of as criterion_of
from runner.selection.expression import joined as joined
from runner.selection.expression import read_selection as read_selection
from runner.selection.load import OFF as OFF
from runner.selection.load import OverrideFiles as OverrideFiles
from runner.selection.load import load_overrides as load_overrides
from runner.selection.override import RuleChange as RuleChange
from runner.selection.selected_rules import SelectedRules as SelectedRules
from runner.selection.selected_rules import select_rules as select_rules
