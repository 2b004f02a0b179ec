// pgjdbc: statements prepared at the server from their first use, binary values, portals in pieces, batches, COPY, large
// objects, transactions with savepoints, denials, cancel. Launched as a single source file.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;

public final class WithJdbc {
    // Ids of this client's rows, so that clients do not meet.
    static final int BASE = 10000;
    static final String AWKWARD = "it's \\ a \"test\" – 漢字;\nselect 1 -- no";
    static final String SALARIES = "select amount from hr.salaries";
    static final String SLEEP = "select pg_sleep(60)";
    // How long to wait for a cancel request to do its work before the next one: the first may come before the statement.
    static final long CANCEL_AGAIN_MS = 300;
    static final boolean RECORDED = System.getenv("HANSARD").equals("1");
    static final List<String> statements = new ArrayList<>();

    interface Work {
        void run() throws Exception;
    }

    static String json(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            out.append(c == '"' || c == '\\' || c < ' ' || c > '~' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return out.append('"').toString();
    }

    /** Notes one statement; `known` is more of what record.py calls by these names, as JSON. */
    static void ran(String text, List<Object> params, String known) {
        StringBuilder values = new StringBuilder();
        for (Object value : params) {
            values.append(values.length() == 0 ? "" : ",").append(value == null ? "null" : json(value.toString()));
        }
        statements.add("{\"request\":\"execute\",\"text\":" + json(text) + ",\"params\":[" + values + "]"
            + (known.isEmpty() ? "" : "," + known) + "}");
    }

    static void ran(String text) {
        ran(text, List.of(), "");
    }

    static void query(String text, String known) {
        statements.add("{\"request\":\"query\",\"text\":" + json(text) + (known.isEmpty() ? "" : "," + known) + "}");
    }

    static void denied(String text) {
        statements.add("{\"request\":\"parse\",\"text\":" + json(text)
            + ",\"decision\":\"deny\",\"status\":\"denied\",\"sqlstate\":\"42501\"}");
    }

    static List<Object> list(Object... values) {
        return java.util.Arrays.asList(values);
    }

    static void check(boolean right, String what) {
        if (!right) {
            System.err.println("the client got something else: " + what);
            System.exit(1);
        }
    }

    static void refused(String sqlstate, Work work) throws Exception {
        try {
            work.run();
        } catch (SQLException error) {
            check(sqlstate.equals(error.getSQLState()), "expected " + sqlstate + ": " + error);
            check(!sqlstate.equals("42501") || error.getMessage().contains("hansard:"), "the refusal says " + error);
            return;
        }
        check(false, "it was not refused by " + sqlstate);
    }

    static void values(Connection db) throws Exception {
        String insert = "insert into notes (id, body, weight, tag) values (?, ?, ?, ?)";
        String sent = "insert into notes (id, body, weight, tag) values ($1, $2, $3, $4)";
        java.util.UUID tag = java.util.UUID.fromString("6f1c7b1e-98a4-4b52-9d2d-5f8d3c1f0a11");
        try (PreparedStatement statement = db.prepareStatement(insert)) {
            for (int n = 0; n < 3; n++) {
                String body = n == 0 ? AWKWARD : n == 1 ? "plain" : null;
                statement.setInt(1, BASE + n);
                statement.setString(2, body);
                statement.setBigDecimal(3, new java.math.BigDecimal("12.50"));
                statement.setObject(4, tag);
                check(statement.executeUpdate() == 1, "insert");
                ran(sent, list(BASE + n, body, "12.50", tag), "\"rows_affected\":1");
            }
        }
        // Prepared at the server at its first use, so its values go in binary from then on.
        try (PreparedStatement statement = db.prepareStatement("select body from notes where id = ?")) {
            for (int n = 0; n < 3; n++) {
                statement.setInt(1, BASE + n);
                ResultSet rows = statement.executeQuery();
                check(rows.next() && java.util.Objects.equals(rows.getString(1), n == 0 ? AWKWARD : n == 1 ? "plain" : null), "values");
                ran("select body from notes where id = $1", list(BASE + n), "\"rows_returned\":1");
            }
        }
        // Several in one text are several of the extended protocol.
        try (Statement statement = db.createStatement()) {
            check(statement.execute("select 1; select 2"), "two statements");
            ran("select 1", List.of(), "\"rows_returned\":1");
            ran(" select 2", List.of(), "\"rows_returned\":1");
        }
    }

    /** A batch is one pipeline. */
    static void batches(Connection db) throws Exception {
        try (PreparedStatement statement = db.prepareStatement("insert into notes (id, body) values (?, ?)")) {
            for (int n = 0; n < 40; n++) {
                statement.setInt(1, BASE + 10 + n);
                statement.setString(2, "row " + n);
                statement.addBatch();
            }
            check(statement.executeBatch().length == 40, "a batch");
        }
        for (int n = 0; n < 40; n++) {
            ran("insert into notes (id, body) values ($1, $2)", list(BASE + 10 + n, "row " + n), "\"rows_affected\":1");
        }
    }

    static void transactions(Connection db) throws Exception {
        db.setAutoCommit(false);
        String change = "update notes set body = ? where id = ?";
        String sent = "update notes set body = $1 where id = $2";
        try (PreparedStatement statement = db.prepareStatement(change)) {
            for (String body : new String[] {"kept", "not kept"}) {
                statement.setString(1, body);
                statement.setInt(2, BASE + 10);
                statement.executeUpdate();
                ran("BEGIN");
                ran(sent, list(body, BASE + 10), "\"rows_affected\":1");
                if (body.equals("kept")) {
                    db.commit();
                    ran("COMMIT");
                } else {
                    db.rollback();
                    ran("ROLLBACK");
                }
            }
            java.sql.Savepoint point = null;
            try (Statement other = db.createStatement()) {
                check(other.executeUpdate("update notes set body = 'kept, too' where id = " + (BASE + 11)) == 1, "update");
                ran("BEGIN");
                ran("update notes set body = 'kept, too' where id = " + (BASE + 11), List.of(), "\"rows_affected\":1");
                point = db.setSavepoint("here");
                ran("SAVEPOINT \"here\"");
                refused("23505", () -> other.executeUpdate("insert into notes (id) values (" + BASE + ")"));
                ran("insert into notes (id) values (" + BASE + ")", List.of(), "\"status\":\"error\",\"sqlstate\":\"23505\"");
                db.rollback(point);
                ran("ROLLBACK TO SAVEPOINT \"here\"");
            }
            db.commit();
            ran("COMMIT");
        }
    }

    /** A portal that is executed again is a statement again. */
    static void portals(Connection db) throws Exception {
        String query = "select id from notes where id >= ? order by id limit 25";
        try (PreparedStatement statement = db.prepareStatement(query)) {
            statement.setFetchSize(10);
            statement.setInt(1, BASE + 10);
            ResultSet rows = statement.executeQuery();
            int count = 0;
            while (rows.next()) {
                count++;
            }
            check(count == 25, "a portal in pieces");
            ran("BEGIN");
            for (int piece : new int[] {10, 10, 5}) {
                ran("select id from notes where id >= $1 order by id limit 25", list(BASE + 10), "\"rows_returned\":" + piece);
            }
        }
        db.commit();
        ran("COMMIT");
        db.setAutoCommit(true);
    }

    static void copies(Connection db) throws Exception {
        var copy = db.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder rows = new StringBuilder();
        for (int n = 0; n < 100; n++) {
            rows.append(BASE + 100 + n).append("\tcopied ").append(n).append('\n');
        }
        String in = "copy notes (id, body) from stdin";
        check(copy.copyIn(in, new StringReader(rows.toString())) == 100, "COPY in");
        query(in, "\"rows_affected\":100");
        StringWriter target = new StringWriter();
        String out = "copy (select id from notes where id between 10100 and 10199) to stdout";
        check(copy.copyOut(out, target) == 100 && target.toString().startsWith("10100\n"), "COPY out");
        query(out, "\"rows_returned\":100");
    }

    static void denials(Connection db) throws Exception {
        if (!RECORDED) {
            return;
        }
        String sent = SALARIES + " where person = $1";
        try (PreparedStatement statement = db.prepareStatement(SALARIES + " where person = ?"); Statement other = db.createStatement()) {
            statement.setString(1, "Ana");
            refused("42501", statement::executeQuery);
            denied(sent);
            // In a transaction: nothing works until it is over.
            db.setAutoCommit(false);
            refused("42501", statement::executeQuery);
            ran("BEGIN");
            denied(sent);
            // Refused when it is prepared, so its execution is discarded.
            refused("25P02", () -> other.executeQuery("select 1"));
            ran("select 1", List.of(), "\"status\":\"skipped\",\"sqlstate\":\"25P02\"");
            db.rollback();
            ran("ROLLBACK");
            db.setAutoCommit(true);
            // In a pipeline: what comes before the denied one is undone with it, what comes behind is discarded.
            other.addBatch("update notes set body = 'not to stay' where id = " + (BASE + 10));
            other.addBatch("delete from hr.salaries where amount < (select max(amount) from hr.salaries)");
            other.addBatch("update notes set body = 'nor this' where id = " + (BASE + 11));
            refused("42501", other::executeBatch);
            ran("update notes set body = 'not to stay' where id = " + (BASE + 10), List.of(), "");
            denied("delete from hr.salaries where amount < (select max(amount) from hr.salaries)");
            ResultSet row = other.executeQuery("select body from notes where id = " + (BASE + 10));
            check(row.next() && row.getString(1).equals("kept"), "what the pipeline had changed");
            ran("select body from notes where id = " + (BASE + 10), List.of(), "\"rows_returned\":1");
        }
    }

    static void cancels(Connection db) throws Exception {
        try (Statement statement = db.createStatement()) {
            CountDownLatch ended = new CountDownLatch(1);
            Thread beside = new Thread(() -> {
                try {
                    while (!ended.await(CANCEL_AGAIN_MS, TimeUnit.MILLISECONDS)) {
                        statement.cancel();
                    }
                } catch (InterruptedException | SQLException error) {
                    check(false, "cancelling: " + error);
                }
            });
            beside.start();
            refused("57014", () -> statement.executeQuery(SLEEP));
            ended.countDown();
            beside.join();
            ran(SLEEP, List.of(), "\"status\":\"cancelled\",\"sqlstate\":\"57014\"");
            check(statement.executeQuery("select 'still here'").next(), "after cancelling");
            ran("select 'still here'", List.of(), "\"rows_returned\":1");
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties login = new Properties();
        login.setProperty("user", System.getenv("PGUSER"));
        login.setProperty("password", System.getenv("PGPASSWORD"));
        login.setProperty("ApplicationName", System.getenv("PGAPPNAME"));
        login.setProperty("sslmode", "verify-full");
        login.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        // Prepared from the first use on; the usual is the fifth.
        login.setProperty("prepareThreshold", "1");
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        try (Connection db = DriverManager.getConnection(url, login)) {
            ran("SET extra_float_digits = 3");
            ran("SET application_name = '" + System.getenv("PGAPPNAME") + "'");
            values(db);
            batches(db);
            transactions(db);
            portals(db);
            copies(db);
            denials(db);
            cancels(db);
        }
        System.out.println("[" + String.join(",\n", statements) + "]");
    }
}
