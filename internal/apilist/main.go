// Apilist prints the exported API of packages, one line for each name, so that a
// diff of api.txt shows every change of the API:
//
//	go run ./internal/apilist . ./appsandbookstest ./postgres > api.txt
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	for _, dir := range os.Args[1:] {
		lines, err := list(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "apilist:", err)
			os.Exit(1)
		}
		for _, line := range lines {
			fmt.Println(line)
		}
	}
}

// list returns the sorted lines of the package in a directory. It ignores test files.
func list(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, fs.ErrNotExist)
	}
	var lines []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		l := lister{pkg: file.Name.Name}
		for _, d := range file.Decls {
			l.decl(d)
		}
		lines = append(lines, l.lines...)
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// A lister collects the lines of the API that one Go file declares.
type lister struct {
	pkg   string
	lines []string
}

func (l *lister) add(format string, args ...any) {
	l.lines = append(l.lines, "pkg "+l.pkg+", "+fmt.Sprintf(format, args...))
}

func (l *lister) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		switch {
		case !d.Name.IsExported():
		case d.Recv == nil:
			l.add("func %s%s%s", d.Name, typeParams(d.Type.TypeParams), signature(d.Type))
		default:
			if recv := text(d.Recv.List[0].Type); ast.IsExported(strings.TrimLeft(recv, "*")) {
				l.add("method (%s) %s%s", recv, d.Name, signature(d.Type))
			}
		}
	case *ast.GenDecl:
		var implied ast.Expr // the type that a constant without a type inherits from the previous constant
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					l.typ(s)
				}
			case *ast.ValueSpec:
				if s.Type != nil || len(s.Values) > 0 {
					implied = s.Type
				}
				for i, name := range s.Names {
					if !name.IsExported() {
						continue
					}
					line := d.Tok.String() + " " + name.Name
					if implied != nil {
						line += " " + text(implied)
					}
					if d.Tok == token.CONST && i < len(s.Values) {
						line += " = " + text(s.Values[i])
					}
					l.add("%s", line)
				}
			}
		}
	}
}

func (l *lister) typ(s *ast.TypeSpec) {
	name := s.Name.Name + typeParams(s.TypeParams)
	switch t := s.Type.(type) {
	case *ast.StructType:
		l.add("type %s struct", name)
		for _, f := range t.Fields.List {
			tag := ""
			if f.Tag != nil {
				tag = " " + f.Tag.Value // list the tag of a field too, because the JSON format is part of the API
			}
			if len(f.Names) == 0 && ast.IsExported(base(f.Type)) {
				l.add("type %s struct, embedded %s%s", name, text(f.Type), tag)
			}
			for _, n := range f.Names {
				if n.IsExported() {
					l.add("type %s struct, %s %s%s", name, n, text(f.Type), tag)
				}
			}
		}
	case *ast.InterfaceType:
		l.add("type %s interface", name)
		for _, m := range t.Methods.List {
			if f, ok := m.Type.(*ast.FuncType); ok && len(m.Names) > 0 {
				l.add("type %s interface, %s%s", name, m.Names[0], signature(f))
				continue
			}
			l.add("type %s interface, %s", name, text(m.Type))
		}
	default:
		assign := ""
		if s.Assign.IsValid() {
			assign = "= "
		}
		l.add("type %s %s%s", name, assign, text(t))
	}
}

// base returns the name of an embedded type, without package and pointer.
func base(t ast.Expr) string {
	name := strings.TrimLeft(text(t), "*")
	return name[strings.LastIndex(name, ".")+1:]
}

func typeParams(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	return "[" + fields(list, true) + "]"
}

// signature returns the parameters and results without their names: a new name is
// not a change of the API.
func signature(f *ast.FuncType) string {
	s := "(" + fields(f.Params, false) + ")"
	if f.Results == nil {
		return s
	}
	if r := fields(f.Results, false); f.Results.NumFields() == 1 {
		s += " " + r
	} else {
		s += " (" + r + ")"
	}
	return s
}

func fields(list *ast.FieldList, named bool) string {
	var all []string
	for _, f := range list.List {
		for i := range max(1, len(f.Names)) {
			if named {
				all = append(all, f.Names[i].Name+" "+text(f.Type))
				continue
			}
			all = append(all, text(f.Type))
		}
	}
	return strings.Join(all, ", ")
}

// text returns the source of an expression on one line.
func text(e ast.Expr) string {
	if f, ok := e.(*ast.FuncType); ok {
		return "func" + signature(f)
	}
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), e); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
