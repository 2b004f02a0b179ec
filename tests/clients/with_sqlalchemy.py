"""SQLAlchemy over psycopg: a mapped class, bulk inserts, rows in pieces, savepoints, reflection, denials.

It asks for much by itself (what the server is, the catalog, cursors by names of its own); what is told here is what this
program asks for, in the words that SQLAlchemy has for it.
"""

import sqlalchemy
from sqlalchemy import String, exc, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from record import RECORDED, check, denied, done, failed, ran, refused

# Ids of this client's rows, so that clients do not meet.
BASE = 13000
AWKWARD = "it's \\ a \"test\" – 漢字;\nselect 1 -- no"


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[str | None] = mapped_column(String)


class Salary(Base):
    __tablename__ = "salaries"
    __table_args__ = {"schema": "hr"}
    person: Mapped[str] = mapped_column(String, primary_key=True)
    amount: Mapped[int]


INSERT_SENT = "INSERT INTO notes (id, body) VALUES ($1::INTEGER, $2::VARCHAR)"
SELECT_SENT = "SELECT notes.id, notes.body \nFROM notes \nWHERE notes.id = $1::INTEGER"
UPDATE_SENT = "UPDATE notes SET body=$1::VARCHAR WHERE notes.id = $2::INTEGER"
SALARIES_SENT = "SELECT hr.salaries.person, hr.salaries.amount \nFROM hr.salaries"


def begins():
    ran("query", "BEGIN")


def values(session):
    session.add(Note(id=BASE, body=AWKWARD))
    session.commit()
    begins()
    ran("execute", INSERT_SENT, (BASE, AWKWARD), rows_affected=1)
    ran("query", "COMMIT")
    check(session.get(Note, BASE).body == AWKWARD, "values")
    begins()
    ran("execute", SELECT_SENT, (BASE,), rows_returned=1)
    rows = [{"id": BASE + 10 + n, "body": f"row {n}"} for n in range(30)]
    session.execute(insert(Note), rows)
    for row in rows:
        ran("execute", INSERT_SENT, row.values(), rows_affected=1)
    session.commit()
    ran("query", "COMMIT")


def savepoints(session):
    with session.begin_nested():
        session.get(Note, BASE + 10).body = "kept"
    begins()
    ran("query", "SAVEPOINT sa_savepoint_1")
    ran("execute", SELECT_SENT, (BASE + 10,), rows_returned=1)
    ran("execute", UPDATE_SENT, ("kept", BASE + 10), rows_affected=1)
    ran("query", "RELEASE SAVEPOINT sa_savepoint_1")

    def again():
        with session.begin_nested():
            session.execute(insert(Note).values(id=BASE, body="again"))

    refused(again, exc.IntegrityError, "duplicate key")
    failed("execute", INSERT_SENT, "23505", (BASE, "again"))
    session.commit()
    ran("query", "COMMIT")


def pieces(session):
    query = select(Note.body).where(Note.id.between(BASE + 10, BASE + 99)).order_by(Note.id).execution_options(yield_per=12)
    sizes = [len(part) for part in session.scalars(query).partitions()]
    check(sizes == [12, 12, 6], f"rows in pieces: {sizes}")
    session.commit()


def denials(session):
    if not RECORDED:
        return
    # A session is always in a transaction: nothing works until it is over.
    session.get(Note, BASE).body = "not to stay"
    session.flush()
    refused(lambda: session.scalars(select(Salary)).all(), exc.ProgrammingError, "hansard:")
    refused(lambda: session.execute(text("select 1")), exc.InternalError, "InFailedSqlTransaction")
    session.rollback()
    begins()
    ran("execute", UPDATE_SENT, ("not to stay", BASE), rows_affected=1)
    denied("query", SALARIES_SENT)
    failed("query", "select 1", "25P02")
    ran("query", "ROLLBACK")
    check(session.get(Note, BASE).body == AWKWARD, "after the rollback")
    ran("execute", SELECT_SENT, (BASE,), rows_returned=1)
    session.commit()


def denials_outside(engine):
    if not RECORDED:
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        refused(lambda: db.execute(select(Salary).where(Salary.person == "Ana")), exc.ProgrammingError, "hansard:")
        denied("parse", f"{SALARIES_SENT} \nWHERE hr.salaries.person = $1::VARCHAR")
        check(db.execute(text("select 2")).scalar() == 2, "after the refusal")
        ran("query", "select 2", rows_returned=1)


def reflection(engine):
    columns = [column["name"] for column in sqlalchemy.inspect(engine).get_columns("notes")]
    check(columns == ["id", "body", "weight", "tag"], f"columns: {columns}")


def main():
    # The rest of the way in stands in the environment, where libpq looks for it.
    engine = sqlalchemy.create_engine("postgresql+psycopg://", pool_size=1, max_overflow=0)
    with Session(engine) as session:
        for chapter in (values, savepoints, pieces, denials):
            chapter(session)
    denials_outside(engine)
    reflection(engine)
    engine.dispose()
    done()


main()
