import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.*;

/** What pgjdbc gives of an endpoint, a line each; run as `java -cp postgresql.jar Ask.java URL`. */
public class Ask {
    static void rows(String title, ResultSet rows, String... names) throws SQLException {
        while (rows.next()) {
            List<String> cells = new ArrayList<>();
            for (String name : names) cells.add(String.valueOf(rows.getString(name)));
            System.out.println(title + "|" + String.join("|", cells));
        }
    }

    public static void main(String[] args) throws Exception {
        try (Connection connection = DriverManager.getConnection(args[0])) {
            System.out.println("valid|" + connection.isValid(5));
            DatabaseMetaData meta = connection.getMetaData();
            System.out.println("product|" + meta.getDatabaseProductName() + "|" + meta.getDatabaseProductVersion());
            rows("schema", meta.getSchemas(), "TABLE_SCHEM");
            rows("catalog", meta.getCatalogs(), "TABLE_CAT");
            rows("kind", meta.getTableTypes(), "TABLE_TYPE");
            rows("table", meta.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}),
                "TABLE_NAME", "TABLE_TYPE", "REMARKS");
            rows("column", meta.getColumns(null, "public", "requests", "%"),
                "COLUMN_NAME", "TYPE_NAME", "IS_NULLABLE", "REMARKS");
            rows("key", meta.getPrimaryKeys(null, "public", "sites"), "COLUMN_NAME", "KEY_SEQ", "PK_NAME");
            rows("index", meta.getIndexInfo(null, "public", "sites", false, true), "INDEX_NAME", "COLUMN_NAME");
            rows("foreign", meta.getImportedKeys(null, "public", "requests"), "FKCOLUMN_NAME");
            rows("type", meta.getTypeInfo(), "TYPE_NAME");
            rows("function", meta.getFunctions(null, null, "%"), "FUNCTION_NAME");
            rows("procedure", meta.getProcedures(null, null, "%"), "PROCEDURE_NAME");
            String sql = "SELECT ts, model, output_tokens, e2e_ms, output_tokens > 5 AS many FROM requests"
                + " WHERE output_tokens >= ? AND ts < ? AND model = ? ORDER BY ts LIMIT 3";
            try (PreparedStatement asked = connection.prepareStatement(sql)) {
                for (int turn = 0; turn < 8; turn++) {  // from the sixth on prepared on the server, results in binary
                    asked.setInt(1, turn);
                    asked.setObject(2, OffsetDateTime.parse("2026-02-01T00:00:00Z"));
                    asked.setString(3, "m1");
                    try (ResultSet found = asked.executeQuery()) {
                        while (found.next()) {
                            System.out.println("row|" + turn + "|" + found.getObject(1, OffsetDateTime.class) + "|"
                                + found.getString(2) + "|" + found.getLong(3) + "|"
                                + found.getBigDecimal(4).stripTrailingZeros().toPlainString() + "|" + found.getBoolean(5));
                        }
                    }
                }
            }
            connection.setAutoCommit(false);
            try (PreparedStatement asked = connection.prepareStatement("SELECT output_tokens FROM requests")) {
                asked.setFetchSize(100);
                long sum = 0;
                try (ResultSet found = asked.executeQuery()) {
                    while (found.next()) sum += found.getLong(1);
                }
                System.out.println("paged|" + sum);
            }
            connection.rollback();
            connection.setAutoCommit(true);
            try (Statement statement = connection.createStatement()) {
                statement.executeQuery("SELECT * FROM nope");
            } catch (SQLException error) {
                System.out.println("error|" + error.getSQLState());
            }
            try (Statement statement = connection.createStatement()) {
                Timer timer = new Timer(true);
                timer.schedule(new TimerTask() {
                    public void run() {
                        try { statement.cancel(); } catch (SQLException error) { throw new RuntimeException(error); }
                    }
                }, 300);
                statement.executeQuery("SELECT sum(a.output_tokens * b.output_tokens + c.output_tokens)"
                    + " FROM requests a, requests b, requests c");
            } catch (SQLException error) {
                System.out.println("cancelled|" + error.getSQLState());
            }
            try (Statement statement = connection.createStatement();
                 ResultSet found = statement.executeQuery("SELECT CAST(1.5 AS numeric) AS n")) {
                found.next();
                System.out.println("numeric|" + found.getBigDecimal(1).equals(new BigDecimal("1.5")));
            }
        }
    }
}
