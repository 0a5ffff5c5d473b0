"""Every SQL statement of the service.

Functions take an open connection and plain values, and give plain values back; the caller decides
where a transaction begins and ends (`Database.begin`). Driver errors become ours in `database`.
"""
