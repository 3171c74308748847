"""What people see: tables, progress, reports."""
