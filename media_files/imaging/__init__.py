"""What a picture is: inspected, decoded, and searched for what may not leave the house. No framework here."""
