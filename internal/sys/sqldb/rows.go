package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"packetboat/internal/sys/pool"
)

// ErrNoRows says that a statement gave no result set at all.
var ErrNoRows = errors.New("the query returned no result set")

// rowsOf reads an answer.
func rowsOf(rows driver.Rows, each func(Row) error) error {
	sets := 0
	for {
		if columns := rows.Columns(); len(columns) > 0 {
			if sets++; sets > 1 {
				return stop(errors.New("the query returned more than one result set"))
			}
			if err := oneSet(rows, columns, each); err != nil {
				return err
			}
		}
		more, ok := rows.(driver.RowsNextResultSet)
		if !ok || !more.HasNextResultSet() {
			break
		}
		if err := more.NextResultSet(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	if sets == 0 {
		return stop(ErrNoRows)
	}
	return nil
}

func oneSet(rows driver.Rows, columns []string, each func(Row) error) error {
	dest := make([]driver.Value, len(columns))
	row := Row{Columns: columns, Values: make([]Value, len(columns))}
	for {
		switch err := rows.Next(dest); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		for i, v := range dest {
			row.Values[i] = Value{textOf(v), v == nil}
		}
		if err := each(row); err != nil {
			return stop(err)
		}
	}
}

// stop marks an error of a row's taker: the server is well.
func stop(err error) error {
	if err == nil {
		return nil
	}
	return &pool.Answered{Err: err}
}

// textOf writes a value as the database's own client prints it; NULL is empty.
func textOf(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		if v {
			return "1"
		}
		return "0"
	case time.Time:
		return v.Format("2006-01-02 15:04:05")
	}
	return fmt.Sprint(v)
}

// ask runs a statement without arguments on a connection of database/sql.
func ask(ctx context.Context, c driver.Conn, sql string) (driver.Rows, error) {
	q, ok := c.(driver.QueryerContext)
	if !ok {
		return nil, errors.New("the driver runs no plain statements")
	}
	return q.QueryContext(ctx, sql, nil)
}
