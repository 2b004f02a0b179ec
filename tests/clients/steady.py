"""Inserts one numbered note after the other until the connection ends, and prints each number once it was answered.

For the test that pulls the plug: what is printed was answered, so it must be on record.

usage: steady.py FIRST_ID
"""

import sys

import psycopg


def main():
    number = int(sys.argv[1])
    try:
        with psycopg.connect(autocommit=True) as db:
            while True:
                db.execute("insert into notes (id, body) values (%s, %s)", (number, f"steady {number}"))
                print(number, flush=True)
                number += 1
    except psycopg.OperationalError:
        return


main()
