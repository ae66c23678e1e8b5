"""What commands print: tables, pages, reports."""
