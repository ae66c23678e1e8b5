"""Events found by a query in KQL outside of any rule, to complete what an alert shows."""
