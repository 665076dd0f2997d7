module github.com/appsandbooks/appsandbooks/examples

go 1.25
