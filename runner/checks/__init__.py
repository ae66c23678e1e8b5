"""What is doubtful in rules that can be run: conditions, categories, sequences; codes of findings; what is allowed."""
