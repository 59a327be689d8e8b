package sqltable

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// errNoRows says that a statement gave no result set at all.
var errNoRows = errors.New("the query returned no result set (see require_result_set)")

// rowsOf reads all values of an answer, the first column only or all of them.
// need says that an answer without any column is an error.
func rowsOf(rows driver.Rows, firstOnly, need bool, value func(string) error) error {
	sets := 0
	for {
		width := len(rows.Columns())
		if width > 0 {
			if sets++; sets > 1 {
				return stop(errors.New("the query returned more than one result set"))
			}
			if err := oneSet(rows, width, firstOnly, value); err != nil {
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
	if sets == 0 && need {
		return stop(errNoRows)
	}
	return nil
}

func oneSet(rows driver.Rows, width int, firstOnly bool, value func(string) error) error {
	dest := make([]driver.Value, width)
	for {
		switch err := rows.Next(dest); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		for i, v := range dest {
			if i > 0 && firstOnly {
				break
			}
			if err := value(textOf(v)); err != nil {
				return stop(err)
			}
		}
	}
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
